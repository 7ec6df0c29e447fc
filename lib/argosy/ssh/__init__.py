"""What `argosy.host` is made of. Knows paramiko, not Fabric; nobody else imports it."""
