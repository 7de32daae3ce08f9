"""SAN, the Semantics Aligning Network: encoder, decoder, and their assembly."""
