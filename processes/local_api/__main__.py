"""Start local_api: `python -m processes.local_api --config robot_config.yaml`."""

from __future__ import annotations

from processes.local_api.server import main

if __name__ == "__main__":
    main()
