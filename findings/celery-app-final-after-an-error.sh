#!/bin/sh
# Celery 5.7.0: an app whose first finalization raises counts as final from then on. The tasks behind the error are
# never registered, and no later access says so.
#
# Met where warnings are errors (PYTHONWARNINGS=error, pytest's filterwarnings): Celery warns of two tasks of one name
# while it makes the app final. Whoever touches `app.tasks` first gets the error, and may swallow it; everybody after
# that gets NotRegistered for tasks that the code defines.
#
# Seen with Python 3.11:
#     first access: DuplicateTaskNameWarning
#     second access: no error; later.task registered: False
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check celery==5.7.0
cat >"$folder/try.py" <<'PYTHON'
import warnings

from celery import Celery

warnings.simplefilter("error")
app = Celery("shop", broker="memory://")


@app.task(name="first.task")
def one():
    pass


@app.task(name="first.task")
def two():
    pass


@app.task(name="later.task")
def three():
    pass


try:
    app.tasks  # noqa: B018
    print("first access: no error")
except Warning as warning:
    print("first access:", type(warning).__name__)
print("second access: no error; later.task registered:", "later.task" in app.tasks)
PYTHON
said=$("$folder/venv/bin/python" "$folder/try.py")
echo "$said"
test "$said" = "first access: DuplicateTaskNameWarning
second access: no error; later.task registered: False"
