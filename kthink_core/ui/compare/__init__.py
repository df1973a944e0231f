"""What the page of two features, inferences or experiments draws."""
