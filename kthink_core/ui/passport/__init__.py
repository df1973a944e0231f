"""What the page Quality is made of: figures by hookpoint and scope, by inference, norms and sinks; another site."""
