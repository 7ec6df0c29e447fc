"""Images on the engine of the provisioning host: their build context, content and versions."""
