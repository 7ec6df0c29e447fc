#!/bin/sh
# Run dnsmasq with the options given, in which @BRIDGE_ADDRESS@ stands for the variable BRIDGE_ADDRESS.
set -eu

for option in "$@"; do
    shift
    case $option in
        *@BRIDGE_ADDRESS@*)
            : "${BRIDGE_ADDRESS:?is the address of the bridge of Docker, as in machine.env}"
            option=${option%%@BRIDGE_ADDRESS@*}$BRIDGE_ADDRESS${option##*@BRIDGE_ADDRESS@}
            ;;
    esac
    set -- "$@" "$option"
done
exec dnsmasq "$@"
