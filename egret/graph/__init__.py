"""Weighted automata: L, G, HLG. Arc tables need nothing; building HLG and the rest of it needs k2."""
