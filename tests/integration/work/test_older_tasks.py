"""Tasks that an older program wrote are read as all others."""

from novapulse.core.documents import to_document
from novapulse.core.migrate import migrate
from novapulse.migrations.order import MIGRATIONS
from novapulse.processes.features import INDEXES
from novapulse.work.model import Task
from novapulse.work.store import TASKS
from tests.support.api import Api


async def test_tasks_from_before_are_found_by_their_people_and_words(api: Api) -> None:
    ada = await api.found_company()
    bob = await api.add_member(str(ada.company_id))
    now = api.runtime.clock()
    tasks = [
        Task(
            id=f"{number:024x}",
            title=f"Water plant {number}",
            assignee_id=bob.id if number % 2 else None,
            created_by=ada.id,
            created_at=now,
            updated_at=now,
        )
        for number in range(1_001)
    ]
    documents = [to_document(task) for task in tasks]
    for document in documents:
        del document["projectId"]  # there were none
    db = api.runtime.db
    await db.tenant(str(ada.company_id)).rows(TASKS).insert_many(documents)
    assert (await bob.get("/tasks")).json()["data"] == []
    for _ in range(2):
        await db.platform("schema").delete_many({})
        await migrate(db, MIGRATIONS, indexes=INDEXES, owner="tests")
        found = (await bob.get("/tasks?limit=200&q=plant")).json()
        assert len(found["data"]) == 200
        (only,) = (await bob.get("/tasks?q=water+777")).json()["data"]
        assert (only["title"], only["projectId"]) == ("Water plant 777", None)
        assert (await bob.get("/tasks?q=778")).json()["data"] == []
    assert len((await ada.get("/tasks?q=778")).json()["data"]) == 1
