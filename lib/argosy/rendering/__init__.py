"""The templates of templates/, and the systemd units and quoted words that go into them."""
