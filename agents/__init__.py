"""bakemem for LangChain agents; imported as `bakemem.agents`, though it lies at the top of the source tree.

The only room that knows LangChain. Inside it modules refer to each other as `.name`.
"""
