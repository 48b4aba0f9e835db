"""Makes the checkout runnable as it is, installed or not."""

import sys

# Registered by its entry point already where the project is installed.
INSTALLED = "pytest_istio.plugin" in sys.modules

pytest_plugins = ["pytester"] if INSTALLED else ["pytester", "pytest_istio.plugin"]
