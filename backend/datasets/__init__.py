"""Datasets: files come in through uploads and are frozen into immutable versions.

An *upload* (`open`) is one file on its way in, cut into numbered parts of a fixed size. Parts are put in any
order, again if need be; what is stored can be asked, so a broken upload resumes. Completion joins the parts,
checks size and SHA-256, and reads the file: a ZIP archive laid out `label/name.png`, or one image whose label
was given when the upload was opened. Every image is decoded. Then either all of its files become files of the
dataset (`completed`), or none does: the upload is `failed`, lists what was wrong file by file, and its parts
are gone. Somebody may also give it up (`aborted`). Missing parts are no failure: the upload stays open.

Content is stored once per organization under its SHA-256 (a *blob*); a dataset's file is a row: path, digest,
label.

A *version* freezes the files of that moment into a Parquet manifest: path, digest, size, label, split, width,
height. The split is stratified, exact, and drawn from a seed and the paths alone, so the same files, seed and
sizes give the same manifest, byte for byte and therefore digest for digest. Versions never change; jobs read
them through `service.dataset_channel`.

Reading and writing objects is slow, so `uploads.py` and `versions.py` load, act with no session open, and
record; they take the database rather than a session.
"""
