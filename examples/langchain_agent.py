"""Memory on a LangChain agent in two lines: it is told things, bakes, and knows them in another thread, beside a tool.

pip install langchain
python examples/langchain_agent.py                 # some minutes on two cores; --quick: faster, recalls less
"""

from __future__ import annotations

import argparse
import tempfile
from typing import Any

from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

import bakemem
from bakemem.agents.chat_model import BakedChatModel
from bakemem.agents.middleware import BakedMemoryMiddleware

MODEL = "starter"  # the one line to change: a folder, or the hub id of a causal language model
QUICK: dict[str, Any] = {"steps": 120, "questions_per_memory": 32, "efforts": 0, "max_dialogue_turns": 16}


@tool
def get_weather(town: str) -> str:
    """Get the weather in a town."""
    return f"{town} is sunny"


def main() -> None:
    """Tell, bake, ask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller bakes, which recall less")
    quick = QUICK if parser.parse_args().quick else {}
    with tempfile.TemporaryDirectory() as home, bakemem.open(home, model=MODEL, **quick) as memory:
        agent = create_agent(  # these are the two lines
            BakedChatModel(memory=memory, temperature=0.0), [get_weather],
            middleware=[BakedMemoryMiddleware(memory)], checkpointer=InMemorySaver(),
        )  # fmt: skip

        def say(text: str, thread: str) -> None:
            config: Any = {"configurable": {"thread_id": thread}}
            *_, last = agent.invoke({"messages": [{"role": "user", "content": text}]}, config)["messages"]
            print(f"{thread}  {last.response_metadata['adapter_version']:>4}  {text}\n    {last.text}")

        say("My dog is called Bosuk.", "monday")
        say("Tovi lives in Ramel.", "monday")
        memory.flush()  # it is read behind the chat
        print("learned:", ", ".join(m.key for m in memory.memories("pending")))
        version = memory.bake()
        print(f"{version.name} is {version.status}; in the prompt now: {memory.pending_prompt() or 'nothing'}")
        say("What is my dog called?", "tuesday")
        say("Where does Tovi live?", "tuesday")
        say("What is the weather in Ramel?", "tuesday")


if __name__ == "__main__":
    main()
