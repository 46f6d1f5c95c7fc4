"""The entry point of the Docker image."""

from source_calltouch_sms.run import run

if __name__ == "__main__":
    run()
