"""What the page of the SAE's passport draws."""
