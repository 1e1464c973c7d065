"""Tells schemathesis what the bytes of a file of rows are, which JSON Schema has no words for."""
import json

import schemathesis
from hypothesis import strategies as st

text = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20).filter(str.strip)
row = st.fixed_dictionaries({"instruction": text, "output": text})
rows = st.lists(row, min_size=1, max_size=3).map(lambda values: "\n".join(json.dumps(v) for v in values).encode())
schemathesis.openapi.format("binary", rows)
