"""How the shipped models were made; needs the extra `train`, and no part of the library."""
