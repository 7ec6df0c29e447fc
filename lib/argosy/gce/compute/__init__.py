"""A thin client of Google's Compute API. `google-cloud-compute` (the extra `gce`) is imported when first needed.

    with Compute.opened(settings) as compute:
        compute.all("instances")
        compute.insert("addresses", {"name": "core1-address", ...})

What goes in and comes out are the API's own JSON documents (https://cloud.google.com/compute/docs/reference/rest/v1);
whatever is changed is waited for, and asked for under one request id however often it has to be asked.
"""
