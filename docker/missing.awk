# Lines of the second file (name==version) whose package is not in the first, whatever its version there.
function normalised(name) {
    gsub(/[-_.]+/, "-", name)
    return tolower(name)
}
BEGIN { FS = "==" }
FNR == NR { present[normalised($1)]; next }
/^[A-Za-z0-9]/ && !(normalised($1) in present)
