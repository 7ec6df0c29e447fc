"""What `argosy.ssh.host` is made of. Knows paramiko, not Fabric; nobody else imports it."""
