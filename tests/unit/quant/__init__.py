"""The quant package without torch: what is recognized, read back and refused."""
