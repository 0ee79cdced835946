"""One module for each machine learning framework: how its models are loaded, trained further, and saved."""
