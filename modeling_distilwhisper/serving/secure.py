"""What Ray has to know before it is imported."""

import os
import secrets

# Ray's own ports cannot be bound to one address. With a secret of this run, nobody else is answered there.
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token"}


def secure_ray() -> None:
    """Gives the Ray that this process will start a secret, and stops its reports. Call it before Ray is imported."""
    os.environ.update(ENVIRONMENT, RAY_AUTH_TOKEN=secrets.token_hex(32))
