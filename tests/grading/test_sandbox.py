def test_right(room, sheet):
    results, problems = sheet.marks(room.run(sheet.solution, sheet.asked()))
    assert sum(one.earned for one in results) == sheet.maximum, problems
