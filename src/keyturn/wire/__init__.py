"""HTTP as values: a ``Request`` in, a ``Response`` out, and nothing of any server or framework."""
