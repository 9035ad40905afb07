"""A web page, a REST API and MCP over one FlorenceRAG, whose models stay loaded."""
