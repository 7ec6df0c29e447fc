"""The operator's side of discovery: see it, change it by hand, drain, and render what routers get."""
