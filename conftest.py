"""Makes the checkout runnable as it is, installed or not."""

from importlib.metadata import entry_points

# Where the project is installed, pytest has found the plugin already.
INSTALLED = any(entry.name == "istio" for entry in entry_points(group="pytest11"))

pytest_plugins = ["pytester"] if INSTALLED else ["pytester", "pytest_istio.plugin"]
