"""An authorizer for a Jupyter server's tests: writes down what it is asked.

It allows what is not the extension's, and of that what a file names.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from jupyter_server.auth import Authorizer


class StrictAuthorizer(Authorizer):
    def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:
        folder = Path(os.environ["RIGHTS_FOLDER"])
        with (folder / "asked").open("a") as file:
            file.write(json.dumps([action, resource]) + "\n")
        allowed = folder / "allowed"
        named = json.loads(allowed.read_text()) if allowed.exists() else []
        return not resource.startswith("jupyter_tfusion") or resource in named
