"""Docker engines: the provisioning host's through the SDK, machines' through their socket or ssh (`api`)."""
