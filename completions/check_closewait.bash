_check_closewait() {
    local i cur prev opts cmds
    COMPREPLY=()
    cur="${COMP_WORDS[COMP_CWORD]}"
    if [[ $COMP_CWORD -ge 1 ]]; then
        prev="${COMP_WORDS[COMP_CWORD-1]}"
    else
        prev=""
    fi
    cmd=""
    opts=""

    for i in ${COMP_WORDS[@]}; do
        case "${i}" in
            check_closewait | */check_closewait)
                cmd="check_closewait"
                ;;
        esac
    done

    case "${cmd}" in
        check_closewait)
            opts="--min-age --expected --ratio-warning --ratio-critical --ratio-min-count --oldest-warning --oldest-critical --ghosts --no-ghosts --state-dir --port -p --unix --profile -P --warning -w --critical -c --side --peer --local --user --unit --pid --require-listener --netns --source --proc-root --replay --by --top --output -o --output-file --timeout -t --verbose -v --help -h --version -V --extra-opts"
            case "${prev}" in
                --min-age)
                    COMPREPLY=()
                    return 0
                    ;;
                --expected)
                    COMPREPLY=()
                    return 0
                    ;;
                --ratio-warning)
                    COMPREPLY=()
                    return 0
                    ;;
                --ratio-critical)
                    COMPREPLY=()
                    return 0
                    ;;
                --ratio-min-count)
                    COMPREPLY=()
                    return 0
                    ;;
                --oldest-warning)
                    COMPREPLY=()
                    return 0
                    ;;
                --oldest-critical)
                    COMPREPLY=()
                    return 0
                    ;;
                --state-dir)
                    COMPREPLY=()
                    return 0
                    ;;
                --port | -p)
                    COMPREPLY=()
                    return 0
                    ;;
                --unix)
                    COMPREPLY=()
                    return 0
                    ;;
                --profile | -P)
                    COMPREPLY=()
                    return 0
                    ;;
                --warning | -w)
                    COMPREPLY=()
                    return 0
                    ;;
                --critical | -c)
                    COMPREPLY=()
                    return 0
                    ;;
                --side)
                    COMPREPLY=()
                    return 0
                    ;;
                --peer)
                    COMPREPLY=()
                    return 0
                    ;;
                --local)
                    COMPREPLY=()
                    return 0
                    ;;
                --user)
                    COMPREPLY=()
                    return 0
                    ;;
                --unit)
                    COMPREPLY=()
                    return 0
                    ;;
                --pid)
                    COMPREPLY=()
                    return 0
                    ;;
                --require-listener)
                    COMPREPLY=()
                    return 0
                    ;;
                --netns)
                    COMPREPLY=()
                    return 0
                    ;;
                --source)
                    COMPREPLY=()
                    return 0
                    ;;
                --proc-root)
                    COMPREPLY=()
                    return 0
                    ;;
                --replay)
                    COMPREPLY=()
                    return 0
                    ;;
                --by)
                    COMPREPLY=()
                    return 0
                    ;;
                --top)
                    COMPREPLY=()
                    return 0
                    ;;
                --output | -o)
                    COMPREPLY=()
                    return 0
                    ;;
                --output-file)
                    COMPREPLY=()
                    return 0
                    ;;
                --timeout | -t)
                    COMPREPLY=()
                    return 0
                    ;;
                --extra-opts)
                    COMPREPLY=()
                    return 0
                    ;;
                *)
                    COMPREPLY=( $(compgen -W "${opts} ${cmds}" -- "${cur}") )
                    return 0
                    ;;
            esac
            ;;
    esac
}

complete -F _check_closewait -o bashdefault -o default check_closewait
