"""The verification of provenance documents: pure but for the cryptography, and total over any bytes."""
