"""The console script's commands, from a checkout: `python main.py spec`."""

from source_calltouch_sms.run import run

if __name__ == "__main__":
    run()
