"""What people start: a file for each command of `distilwhisper`."""

from ..workarounds import silence_messages_about_themselves

silence_messages_about_themselves()  # before any command imports the libraries
