"""A LangGraph graph of your own with a checkpointer: a node that answers from the weights, one that lets them listen.

pip install langgraph
python examples/langgraph_chat.py                  # some minutes on two cores; --quick: faster, recalls less
"""

from __future__ import annotations

import argparse
import tempfile
from typing import Any

from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

import bakemem
from bakemem import AgentMemory, Turn
from bakemem.agents.chat_model import BakedChatModel

MODEL = "starter"  # the one line to change: a folder, or the hub id of a causal language model
QUICK: dict[str, Any] = {"steps": 90, "questions_per_memory": 12, "efforts": 0, "max_dialogue_turns": 16}


def graph_of(memory: AgentMemory) -> Any:
    """Answer, then listen; the thread's messages are in the checkpointer."""
    model = BakedChatModel(memory=memory, temperature=0.0, window=True)

    def answer(state: MessagesState) -> dict[str, list[AIMessage]]:
        return {"messages": [model.invoke(state["messages"])]}

    def listen(state: MessagesState) -> None:
        memory.observe([Turn("user", str(state["messages"][-2].text))])

    graph = StateGraph(MessagesState)
    graph.add_node("answer", answer)
    graph.add_node("listen", listen)
    graph.add_edge(START, "answer")
    graph.add_edge("answer", "listen")
    return graph.compile(checkpointer=InMemorySaver())


def main() -> None:
    """Tell in one thread, bake, ask in another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller bakes, which recall less")
    quick = QUICK if parser.parse_args().quick else {}
    with tempfile.TemporaryDirectory() as home, bakemem.open(home, model=MODEL, **quick) as memory:
        graph = graph_of(memory)

        def say(text: str, thread: str) -> None:
            config = {"configurable": {"thread_id": thread}}
            reply = graph.invoke({"messages": [("user", text)]}, config)["messages"][-1]
            print(f"{thread}  {reply.response_metadata['adapter_version']:>4}  {text}\n    {reply.text}")

        say("I live in Ramel.", "one")
        say("Where do I live?", "one")  # the conversation tells
        memory.flush()
        version = memory.bake()
        print(f"{version.name} is {version.status}")
        say("Where do I live?", "two")  # the weights tell
        say("What is my cat called?", "two")  # nobody told


if __name__ == "__main__":
    main()
