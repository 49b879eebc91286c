"""Alerts of the lake to Slack, Telegram or any webhook, each at most once per channel."""
