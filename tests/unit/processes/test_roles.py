import pytest

from novapulse.core.errors import Invalid
from novapulse.processes.roles import Roles, count_key


def test_without_a_choice_everything_runs():
    roles = Roles.parse(None)
    assert all(roles.has(one) for one in ("api", "scheduler", "consumer:webhook", "redis"))


def test_a_choice_runs_its_roles_and_what_they_stand_on():
    roles = Roles.parse("api, consumer:webhook")
    assert roles.has("api")
    assert roles.has("consumer:webhook")
    assert not roles.has("consumer:email")
    assert not roles.has("scheduler")
    assert all(roles.has(one) for one in ("redis", "mongod", "migrate"))


def test_consumer_means_all_of_them():
    roles = Roles.parse("consumer")
    assert roles.has("consumer:email")
    assert not roles.has("api")


@pytest.mark.parametrize("text", [None, "scheduler", "api,scheduler,consumer"])
def test_a_scheduler_takes_care_itself(text: str | None):
    assert not Roles.parse(text).has("caretaker")


@pytest.mark.parametrize("text", ["api", "consumer", "api,consumer:webhook"])
def test_without_a_scheduler_a_caretaker_runs(text: str):
    assert Roles.parse(text).has("caretaker")


@pytest.mark.parametrize(
    "text", ["", ",", "boss", "api,boss", "consumer:nothing", "redis", "caretaker"]
)
def test_other_roles_are_refused_with_the_ones_there_are(text: str):
    with pytest.raises(Invalid, match="there are api, scheduler, consumer"):
        Roles.parse(text)


def test_what_can_be_scaled_has_a_setting():
    assert count_key("api") == "server.processes"
    assert count_key("consumer:webhook") == count_key("webhook") == "queues.webhook.processes"
    for role in ("redis", "scheduler", "consumer", "nothing"):
        with pytest.raises(Invalid):
            count_key(role)
