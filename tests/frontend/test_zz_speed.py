import time, hashlib
from uuid import UUID
from sqlalchemy import insert
from backend.core.ids import new_id
from backend.datasets.models import DatasetFile, Blob, Upload
from tests.frontend.rooms import Visitor

def test_speed(app, make_member, make_client, app_database):
    member = make_member(); client = make_client(member.tenant)
    t = member.tenant
    ds = client.post("/api/v1/datasets", json={"project_id": str(t.project_id), "name": "big", "kind": "image"}).json()
    from tests.datasets.files import Uploader, archive, png
    up = Uploader(client, ds["id"]); one = up.send(archive({"z/1.png": png(1)})).json()
    with app_database.unit_of_work(t.scope) as s:
        for start in range(0, 100000, 5000):
            rows = [{"id": new_id(), "organization_id": t.organization_id, "dataset_id": UUID(ds["id"]), "upload_id": UUID(one["id"]), "path": f"{n%100:03d}/{n:06d}.png", "sha256": hashlib.sha256(str(n).encode()).hexdigest(), "size_bytes": 300+n%50, "label": f"{n%100:03d}", "attributes": {"width":28,"height":28,"mode":"L"}} for n in range(start, start+5000)]
            s.execute(insert(DatasetFile), rows)
    v = Visitor(app, member)
    t0=time.perf_counter(); r = client.post(f"/api/v1/datasets/{ds['id']}/versions", json={}); print("freeze", time.perf_counter()-t0, r.status_code); ver=r.json()
    r = client.post(f"/api/v1/datasets/{ds['id']}/versions", json={"seed": 5}); ver2=r.json()
    for path in ("/data", f"/data/{ds['id']}", f"/data/{ds['id']}/files", f"/data/{ds['id']}/files?label=099", f"/data/{ds['id']}/classes.json", f"/data/{ds['id']}/freeze", f"/data/{ds['id']}/freeze/plan?unit=percent&splits.train=80&splits.test=20&stratify:flag=true",f"/data/versions/{ver['id']}", f"/data/versions/{ver['id']}?label=050&split=test", f"/data/versions/{ver2['id']}/compare?change=moved"):
        ts=[]
        for _ in range(4):
            t0=time.perf_counter(); r=v.get(path); ts.append(round((time.perf_counter()-t0)*1000))
            assert r.status_code==200, r.text[:500]
        print(path.replace(ds['id'],'D').replace(ver['id'],'V').replace(ver2['id'],'V2'), ts, len(r.text))
    from sqlalchemy import text
    with app_database.unit_of_work(t.scope) as s:
        for q in ("select label, count(*), sum(size_bytes) from dataset_files where organization_id=:o and dataset_id=:d group by label order by label",
                  "select dataset_id, count(*) from dataset_files where organization_id=:o and dataset_id in (:d) group by dataset_id",
                  "select * from dataset_files where organization_id=:o and dataset_id=:d order by path limit 61",
                  "select * from dataset_files where organization_id=:o and dataset_id=:d and label='099' order by path limit 61"):
            for r in s.execute(text("explain (analyze, buffers) "+q), {"o": t.organization_id, "d": UUID(ds["id"])}): print(r[0])
            print()
