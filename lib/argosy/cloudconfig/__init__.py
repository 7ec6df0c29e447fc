"""What a machine is made of, and the file that it boots with, in the dialect of its OS."""
