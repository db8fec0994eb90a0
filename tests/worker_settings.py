"""Settings of the worker processes a test starts: the test's own database, broker and mail folder."""

import os
from pathlib import Path

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES

DATABASES["default"]["NAME"] = os.environ["TEST_DATABASE"]
EMAIL_FILE_PATH = Path(os.environ["TEST_MAIL"])
