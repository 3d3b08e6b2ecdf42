"""The catalogue of mistakes that people make in a backward pass: each can be planted on any case, and explains itself."""
