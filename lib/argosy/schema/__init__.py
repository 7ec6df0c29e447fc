"""Pure. The keys in etcd that say what is where, and what their values mean.

    /services/NAME/scheme            http | https | http-and-https | tcp; without it the service is not routed
    /services/NAME/hosts/ID          ip:port or [v6]:port of one instance, usually leased
    /services/NAME/host_port         also listen on this port, in the scheme's mode
    /services/NAME/private           present: not routed by name, only by host_port
    /services/NAME/sni               TLS server names on the shared port, for tcp
    /services/NAME/weight/ID         0..256, else 100
    /services/NAME/generation/GEN    0..256: the weight of this generation's instances, whatever their labels say
    /services/NAME/drain/ID          present: no new connections
    /services/NAME/generation/GEN    0..256: the weight of that generation's instances; else what their labels say
    /services/NAME/check             tcp (else) | none | http /path | http /path 200,204
    /config/services/ssl_support     true: end TLS on the https port
    /config/services/default         NAME: where http requests go that name no service
    /machines/NAME                   {"address", "role", "release", "state", "metadata", "os", "host_keys"}
    /routers/NAME                    the revision that NAME's router has applied, leased
    /routers/NAME/problems           [{"service", "key", "reason"}]: what only that machine knows, leased

A bad value costs only what it says: a bad endpoint its instance, a bad host_port that port. Each is a `Problem`.
"""

from __future__ import annotations

from argosy.schema.catalog import Catalog as Catalog
from argosy.schema.catalog import Directory as Directory
from argosy.schema.catalog import parse_directory as parse_directory
from argosy.schema.keys import CONFIG as CONFIG
from argosy.schema.keys import DEFAULT_SERVICE as DEFAULT_SERVICE
from argosy.schema.keys import FOLLOWED as FOLLOWED
from argosy.schema.keys import MACHINES as MACHINES
from argosy.schema.keys import ROUTERS as ROUTERS
from argosy.schema.keys import SERVICES as SERVICES
from argosy.schema.keys import SSL_SUPPORT as SSL_SUPPORT
from argosy.schema.keys import drain_key as drain_key
from argosy.schema.keys import generation_key as generation_key
from argosy.schema.keys import instance_key as instance_key
from argosy.schema.keys import machine_key as machine_key
from argosy.schema.keys import router_key as router_key
from argosy.schema.keys import router_problems_key as router_problems_key
from argosy.schema.keys import service_key as service_key
from argosy.schema.keys import service_of as service_of
from argosy.schema.keys import weight_key as weight_key
from argosy.schema.machines import MachineRecord as MachineRecord
from argosy.schema.machines import parse_machine as parse_machine
from argosy.schema.services import Instance as Instance
from argosy.schema.services import Problem as Problem
from argosy.schema.services import Service as Service
from argosy.schema.services import parse_service as parse_service
from argosy.schema.values import Check as Check
from argosy.schema.values import Scheme as Scheme
from argosy.schema.values import parse_address as parse_address
from argosy.schema.values import parse_check as parse_check
from argosy.schema.values import parse_endpoint as parse_endpoint
from argosy.schema.values import parse_generation as parse_generation
from argosy.schema.values import parse_id as parse_id
from argosy.schema.values import parse_port as parse_port
from argosy.schema.values import parse_scheme as parse_scheme
from argosy.schema.values import parse_sni as parse_sni
from argosy.schema.values import parse_weight as parse_weight
from argosy.schema.values import shown as shown
from argosy.schema.values import valid_name as valid_name
