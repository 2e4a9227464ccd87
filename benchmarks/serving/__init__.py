"""The engine under load: see `__main__.py`."""
