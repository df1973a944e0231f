"""kthink for programs: the queries over HTTP, to read only, and as tools of MCP."""
