"""What people type: `signpost` and its subcommands; `serve` itself is `service.process.launcher`."""
