"""The science of baking: one experiment a file, all through the public `bakemem.baking`; see docs/science.md."""
