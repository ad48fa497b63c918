"""`signpost keys new`: make an API key."""

from pathlib import Path

import click

from service.security import keys


@click.group("keys")
def group() -> None:
    """Make API keys for `signpost serve --api-keys-file`."""


@group.command()
@click.option(
    "--api-keys-file",
    type=click.Path(path_type=Path),
    required=True,
    envvar="SIGNPOST_API_KEYS_FILE",
    help="The file to add it to; a running service picks it up within a second.",
)
@click.option(
    "--role", type=click.Choice(keys.ROLES), default="predict", show_default=True, help="What the key allows."
)
@click.option("--name", help="Whose it is; the name appears in the file and in logs.  [default: the role and a number]")
def new(api_keys_file: Path, role: keys.Role, name: str | None) -> None:
    """Make a key, print it once, and add its SHA-256 digest to the file.

    The key itself is kept nowhere. To take it back, delete its line in the file.
    """
    if name is None:
        known = {key.name for key in keys.read(api_keys_file)} if api_keys_file.exists() else set()
        name = next(each for n in range(1, len(known) + 2) if (each := f"{role}-{n}") not in known)
    secret, key = keys.make(name, role)
    keys.append(api_keys_file, key)
    click.echo(secret)
    click.echo(f"The key {name} ({role}) is shown this once; {api_keys_file} holds its digest.", err=True)
