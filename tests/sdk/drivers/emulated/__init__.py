"""Clients that need a language or a device which is not here, byte for byte."""

from emulated import mobiles, servers

CLIENTS = {
    client.name: client
    for client in (
        servers.Ruby,
        servers.Php,
        mobiles.Swift,
        mobiles.ReactNative,
        mobiles.CSharp,
        mobiles.Ios,
        mobiles.Android,
    )
}
