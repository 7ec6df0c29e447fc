"""What the command line promises beyond Invoke: chains that agree, variables of the environment, files of
settings, pipes that close."""
