"""Readers of data sets for training and evaluation, one for each published format.

`florence-rag train` and `florence-rag eval` take the same DATA:

| task | DATA | reader |
|---|---|---|
| classification | a folder with a folder of images for each class; a CSV or JSON Lines file | `images` |
| retrieval | a CSV or JSON Lines file; a JSON file with Karpathy's splits | `images` |
| retrieval of videos | MSR-VTT's JSON file; its 1k-A test list as a CSV file | `videos` |
| actions | a folder with a folder of videos for each class; a CSV file; a Kinetics list | `videos` |
| detection | a folder with COCO's JSON files and the images; one such file | `coco` |
| question answering | a folder with VQAv2's JSON files and the images; one file of questions | `vqav2` |

The readers open the lists, not the images and videos. A file of another form raises InputError, which names the record
and the field. `demo_corpus` holds the files of `florence-rag demo`.
"""
