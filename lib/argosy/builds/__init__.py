"""Build images and give them versions, on the engine of this host.

plan, release  which images, in which order; what the installer image holds
images         the images under `images:`
installer      the installer image, which is the release
requests       what a builder is asked for, and what it can't do
versioning     from a build's result to a version
stored         the versions that are here: see them, drop old ones
"""
