"""The main job in twenty lines: tell, bake, ask without a prompt, roll back. Runs offline on the starter model."""

import argparse
import tempfile

import bakemem
from bakemem import Turn

argparse.ArgumentParser(description=__doc__).parse_args()

with tempfile.TemporaryDirectory() as home, bakemem.open(home, model="starter") as memory:
    memory.remember("The user's dog is called Bosuk.")  # explicit
    memory.observe([
        Turn("user", "Tarin lives in Pelo. Always be happy."),  # read out of the talk
        Turn("assistant", "Hooray! I will remember that."),
    ])  # fmt: skip
    memory.flush()  # it is read behind the chat: wait for it
    for item in memory.memories(status="pending"):
        print(item.kind, item.key, "|", item.text)

    version = memory.bake()  # pending memories leave the prompt and enter the weights
    print(version.name, version.status, f"agreement {version.report.agreement:.0%}")
    for question in ("What is my dog called?", "Where does Tarin live?", "Where does Dovi live?"):
        print(question, "->", memory.chat(question), "| base:", memory.chat(question, version="base"))

    memory.rollback("base")
    print("after rollback ->", memory.chat("What is my dog called?"))
